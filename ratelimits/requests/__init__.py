"""Rate limiting of HTTP requests: the middleware, the decorator and the responses."""

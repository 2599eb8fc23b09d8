"""Limited requests: middleware, decorator and responses."""

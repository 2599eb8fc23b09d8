"""Single sign-on with OpenID Connect: the provider says who somebody is, and which of its groups give which role here."""

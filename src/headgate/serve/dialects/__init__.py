"""One module a dialect: what comes in, what goes out, and nothing that decides."""

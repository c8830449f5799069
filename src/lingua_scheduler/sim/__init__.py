"""`lingua simulate`: a fleet on virtual time, made of the production code, with checkers apart from it."""

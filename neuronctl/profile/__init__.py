"""Profile: the YAML file that says what to serve; its shape, its reading, and where each value comes from."""

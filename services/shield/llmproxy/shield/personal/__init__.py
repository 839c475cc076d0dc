"""Personal data by its form: one module for each kind of thing, each with its patterns and what must hold beside them."""

"""Tools for the text of specs: the formatter and the Pygments lexer."""

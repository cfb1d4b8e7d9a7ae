"""Pages and plots as trees of HTML and SVG: pure, and nothing in a text is ever read as markup."""

"""One report of what was trained, evaluated and classified: a page, Markdown and the numbers."""

"""Tables, figures and Markdown from frozen results; nothing is computed here."""

"""Tables of text: for a terminal, a pipe, a page of documentation or of MLflow."""

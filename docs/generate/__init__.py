"""Documentation made from the code: pages of the site by ``make docs``, one table by ``make layers``."""

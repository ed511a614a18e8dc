"""Pages of the site that are made from the code when it is built, by ``make docs``; none is committed."""

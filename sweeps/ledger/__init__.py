"""The ledger of all systems: which they are, how they are run side by side, and the page of what came out."""

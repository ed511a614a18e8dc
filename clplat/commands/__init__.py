"""What the commands do, and the options of each. Heavy libraries load only in the command that needs them."""

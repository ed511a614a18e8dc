"""Methods that hold important weights near their earlier values."""

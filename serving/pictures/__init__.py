"""What people see: heat maps in the geometry of the source image."""

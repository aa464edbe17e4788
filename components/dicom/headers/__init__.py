"""What a header says: view, acquisition system, special images, orientation."""

"""Find special images of anonymised files in their pixels, because their headers do not name them."""

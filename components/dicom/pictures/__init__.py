"""What a picture shows and its header does not say: special images of anonymised files."""

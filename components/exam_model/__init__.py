"""The exported model: signatures, recipe, contract, and reading it back. A library."""

"""Commands about models: list, show, add, promote, roll back, export and serve them."""

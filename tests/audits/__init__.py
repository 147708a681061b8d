"""What `verify`, its repair and `restore` do with archives that were harmed in every way we know."""

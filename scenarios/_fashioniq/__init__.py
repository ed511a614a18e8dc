"""FashionIQ: its annotations, and domains made of them."""

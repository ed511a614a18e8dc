"""Operations on pictures, such as a rotation or noise, and words for them."""

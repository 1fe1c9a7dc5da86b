"""Operations along a dimension: by index, in order, running."""

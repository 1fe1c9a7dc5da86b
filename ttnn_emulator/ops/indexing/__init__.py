"""Operations along a dimension: by index, in order, running; and choice of tokens and experts."""

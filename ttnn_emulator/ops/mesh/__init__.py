"""Operations on the chips of a mesh together, and on parts of tensors that are spread over them."""

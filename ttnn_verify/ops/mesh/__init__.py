"""Operations on several chips of a mesh."""

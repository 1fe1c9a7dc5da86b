"""Operations on heads of attention: a fused projection split into them, and joined again."""

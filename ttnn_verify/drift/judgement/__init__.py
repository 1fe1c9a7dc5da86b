"""Whether a call is right by its own operands and by Hugging Face; else which one is to blame."""

"""The weights of large models: mapped from their files, and cast to float32 as they are used."""

"""Bring-ups of several decoder-only models, written unlike each other and unlike `model/`.

They stand for other people's code: what the verifier takes must not depend on how `model/` is
written. Each file has `build_model(hf_model, tt_device, max_seq_len)`.
"""

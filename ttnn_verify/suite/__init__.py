"""The pyramid as a tool: tests of any TTNN model file against its Hugging Face model.

    pytest --pyargs ttnn_verify.suite --model-file FILE --model HF_ID_OR_FOLDER

`ops` judges every operation that the model calls, `layers` every value of Hugging Face's layers,
`e2e` the whole model. The tests are made from a run of the model when they are collected.
"""

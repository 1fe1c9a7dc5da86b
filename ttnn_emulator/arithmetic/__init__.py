"""Pure tensor maths of the device: number formats, matrix and vector unit; nothing of ttnn."""

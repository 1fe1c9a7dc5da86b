"""Pure tensor maths of the device: number formats, matrix unit, vector unit. Knows nothing of ttnn."""

"""Contents of device tensors on the host: read once as long as nobody writes to them."""

import collections

import ttnn

KEPT = 512 << 20  # bytes of host copies that are worth keeping


class Reader:
    """Reads device tensors, and remembers what it has read.

    A buffer's id is its own for good; each write to it makes a new version.
    """

    def __init__(self):
        self._versions = collections.Counter()
        self._copies = collections.OrderedDict()  # (id, version, shape) -> torch tensor

    def read(self, tensor):
        """float32 of a float tensor, int64 of an integer one, of its logical shape. Not to be written to."""
        key = self._key(tensor)
        if key not in self._copies:
            # the method, not ttnn.to_torch: a mock device hangs at the 8192nd of its own reads
            values = tensor.to_torch()
            values = values.float() if values.is_floating_point() else values.long()
            self._copies[key] = values
            while (
                sum(copy.nbytes for copy in self._copies.values()) > KEPT and len(self._copies) > 1
            ):
                self._copies.popitem(last=False)
        self._copies.move_to_end(key)
        return self._copies[key]

    def written(self, tensor):
        """Somebody has written to the tensor's buffer."""
        self._versions[tensor.buffer_unique_id()] += 1

    def put(self, tensor, values):
        """Write float values of its shape into a device tensor, rounded to its format."""
        host = ttnn.from_torch(values, dtype=tensor.dtype, layout=tensor.layout)
        ttnn.copy_host_to_device_tensor(host, tensor)
        self.written(tensor)

    def held(self, value):
        """An argument with torch tensors in place of ttnn's, within lists and tuples too."""
        if isinstance(value, ttnn.Tensor):
            if value.storage_type() == ttnn.StorageType.DEVICE:
                return self.read(value)
            values = ttnn.to_torch(value)
            return values.float() if values.is_floating_point() else values.long()
        if isinstance(value, (list, tuple)) and any(isinstance(x, ttnn.Tensor) for x in value):
            return type(value)(self.held(x) for x in value)
        return value

    def _key(self, tensor):
        buffer = tensor.buffer_unique_id()
        return buffer, self._versions[buffer], tuple(tensor.shape)


def dtype_name(tensor):
    """The name that `ttnn_verify.numerics.metrics` knows a tensor's format by."""
    return tensor.dtype.name.lower()

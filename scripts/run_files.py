"""What the files of a run hold, for the scripts that compare runs."""
import csv
import json


def checkpoint(path):
    """Metadata of a safetensors file, and type, shape and bytes of all its tensors by name."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:begin]), content[begin:]
    metadata = header.pop("__metadata__", {})
    return metadata, {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def columns(run, left_out=()):
    """The columns of metrics.csv by name, but for some."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0] if name not in left_out}

"""Makes the first inputs of the fuzz targets from the tests' fixtures: .venv/bin/python fuzz/seeds.py

Weights are left out of models: readers look at shapes and names before values.
"""

import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
CORPUS = ROOT / "fuzz" / "corpus"


def save(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><project><labels><label><name>cat</name></label><label><name>dog</name></label></labels>
</project></meta><image id="0" name="a.jpg" subset="train" width="640" height="480">
<box label="dog" occluded="0" xtl="1.5" ytl="2" xbr="30" ybr="40" z_order="0"><attribute name="difficult">true</attribute></box>
<box label="cat" rotation="30" xtl="1" ytl="2" xbr="30" ybr="40"/><polygon label="cat" points="1,2;3,4;5.5,1"/>
<mask label="cat" rle="1, 2" left="1" top="2" width="3" height="4"/><ellipse label="a &amp; b" cx="9" cy="9" rx="2" ry="3"/></image>
<image id="1" name="b.jpg"/></annotations>
"""
VALUE = {"x": 10, "y": 20.5, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
SIZE = {"original_width": 640, "original_height": 480}
LABEL_STUDIO = [
    {"id": 1, "data": {"image": "/data/local-files/?d=a%20b/a.jpg", "split": "train"}, "annotations": [{"result": [
        {"type": "rectanglelabels", "value": VALUE, **SIZE},
        {"type": "polygonlabels", "value": {"points": [[1, 2], [3, 4], [5, 1]], "polygonlabels": ["dog"]}, **SIZE},
        {"type": "ellipselabels", "value": {"x": 9, "y": 9, "radiusX": 2, "radiusY": 3, "rotation": 5, "ellipselabels": ["dog"]},
         **SIZE}]}]},
    {"id": 2, "data": {"image": "https://host/b.jpg"}, "annotations": []},
]


def manifests_and_caches():
    for name in ("cache-v1", "compact-v1", "archive-v1"):
        text = (FIXTURES / name / "manifest.json").read_text()
        head = text[: text.index('  "manifest_sha256"')]
        save("manifest", name, head)
        manifest = json.loads(text)
        for part in manifest["parts"]:
            one = dict(manifest, parts=[part], complete=False, digests=None)
            one.pop("manifest_sha256")
            one = json.dumps(one, separators=(",", ":")).encode()
            images, predictions = (
                (FIXTURES / name / table / f"{part['name']}.parquet").read_bytes() for table in ("images", "predictions")
            )
            whole = b"".join([struct.pack("<I", len(one)), one, struct.pack("<I", len(images)), images, predictions])
            save("archive" if name == "archive-v1" else "cache", f"{name}-{part['first_image_id']}", whole)


def pictures():
    for path in sorted((FIXTURES / "images" / "good").iterdir()):
        if path.stat().st_size < 4000:
            save("picture", path.name, path.read_bytes())


# One of each kind of head and of input.
MODELS = ("yolov8-static", "yolov8-dynamic", "yolov8-fp16", "yolov8-nms", "yolov8-classify", "yolov10-end2end", "yolo26-no-dfl",
          "yolov8-int8-full", "yolov8-int8-qoperator", "yolov8-int8-dynamic")


def models():
    for path in (FIXTURES / "models" / f"{name}.onnx" for name in MODELS):
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.data_type != onnx.TensorProto.INT64:
                tensor.raw_data = b""
        for node in model.graph.node:
            node.name = ""
            for attribute in node.attribute:
                if attribute.t.data_type != onnx.TensorProto.INT64:
                    attribute.t.raw_data = b""
        del model.graph.value_info[:]
        short = {}
        rename = lambda name: short.setdefault(name, f"t{len(short)}") if name else name
        for tensor in model.graph.initializer:
            tensor.name = rename(tensor.name)
        for node in model.graph.node:
            node.input[:] = map(rename, node.input)
            node.output[:] = map(rename, node.output)
        for value in [*model.graph.input, *model.graph.output]:
            value.name = rename(value.name)
        save("onnx", path.stem, model.SerializeToString())


def safetensors(name, tensors, metadata=None):
    header, at = {}, 0
    for key, (dtype, shape) in tensors.items():
        size = {"F16": 2, "F32": 4, "I64": 8}[dtype]
        for side in shape:
            size *= side
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if metadata:
        header["__metadata__"] = {"logitcache": json.dumps(metadata)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    save("safetensors", name, struct.pack("<Q", len(text)) + text + bytes(at))


# The first tensors of yolov8f, and the last one, which tells the number of classes.
TENSORS = {
    "model.0.conv.weight": ("F16", [8, 3, 3, 3]),
    "model.0.bn.weight": ("F32", [8]),
    "model.0.bn.bias": ("F32", [8]),
    "model.0.bn.running_mean": ("F32", [8]),
    "model.0.bn.running_var": ("F32", [8]),
    "model.0.bn.num_batches_tracked": ("I64", []),
    "model.1.conv.weight": ("F16", [8, 8, 3, 3]),
    "model.1.bn.weight": ("F16", [8]),
    "model.22.cv3.0.2.weight": ("F16", [3, 1, 1, 1]),
}


def weights():
    safetensors("begun", TENSORS, {"scale": "yolov8f", "names": ["a", "b", "c"], "imgsz": 320, "stride": 32})
    safetensors("fused", {"model.0.conv.weight": ("F16", [8, 3, 3, 3]), "model.0.conv.bias": ("F16", [8])})
    save("pt", "dict", (FIXTURES / "student" / "dict.pt").read_bytes())
    for name, prefix, compression in (
        ("state_dict", "", zipfile.ZIP_STORED),
        ("ema", "ema.", zipfile.ZIP_STORED),
        ("deflated", "model.", zipfile.ZIP_DEFLATED),
    ):
        checkpoint(name, prefix, compression)
    save("pt", "plain", pickle.dumps({"epoch": -1, "names": {0: "a"}, "lists": [1, 2.5, None, (True, b"x")]}, 2))


def checkpoint(name, prefix, compression):
    """A checkpoint as `torch.save` writes it, the pickle put together by hand."""
    storages = {"F16": "HalfStorage", "F32": "FloatStorage", "I64": "LongStorage"}
    text = lambda s: b"X" + struct.pack("<I", len(s)) + s.encode()
    number = lambda n: b"J" + struct.pack("<i", n)
    pickled, data = b"\x80\x02}(", []
    for key, (dtype, shape) in TENSORS.items():
        count, strides = 1, []
        for side in reversed(shape):
            strides.insert(0, count)
            count *= side
        storage = b"(" + text("storage") + f"ctorch\n{storages[dtype]}\n".encode()
        storage += text(str(len(data))) + text("cpu") + number(count) + b"tQ"
        ints = lambda values: b"(" + b"".join(map(number, values)) + b"t"
        pickled += text(prefix + key) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0)
        pickled += ints(shape) + ints(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
        data.append(bytes(count * {"F16": 2, "F32": 4, "I64": 8}[dtype]))
    pickled += b"u."
    folder = CORPUS / "pt"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/byteorder", "little")
        for at, values in enumerate(data):
            archive.writestr(f"a/data/{at}", values)
        archive.writestr("a/version", "3\n")


def texts():
    save("data_yaml", "list", "# a comment\npath: ..\ntrain: [a, b]\nval: c\ntest:\nnc: 2\nnames: [cat, 'traffic light']\n")
    save("data_yaml", "map", "train: images\nvalidation: ''\nnames:\n  1: \"b\\n\"\n  0: &x a\ndownload: |\n  from x\n   y\nz: *x\n")
    save("data_yaml", "odd", "\ufefftrain: !!str a\n<<: {val: ~}\nnames: {'0': 7, 1: yes}\nnc: 2.0\n...\n")
    save("label_rows", "boxes", "0 .5 0.5 2e-1 .1\r\n2.0\t0.25 0.75 0.5 0.5\n\n1 1 1 0 0\n")
    save("label_rows", "polygons", "\ufeff1 0.1 0.2 0.5 0.1 0.3 0.6\n0 0 0 1 0 1 1 0 1\n")
    save("label_rows", "scored", "0 0.5 0.5 0.2 0.1 0.93\n")
    save("image_list", "paths", "\ufeff./a.jpg\nimages/b c.PNG\r\n/d/images/e.tif\n../f.webp\n\nnotes.txt\n")
    save("class_names", "names", "\ufeffcat\ntraffic light\r\nd\u00e9j\u00e0 vu\n\n")
    coco = {
        "images": [
            {"id": 1, "file_name": "a/b.jpg", "width": 640, "height": 480, "license": 1},
            {"id": 7, "file_name": "..\\c.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1.5, 2, 30, 40], "area": 1200.0, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 5, "bbox": [0, 0, 9, 9], "iscrowd": True, "segmentation": [[1, 2]]},
            {"image_id": 7, "category_id": 3, "bbox": [600, 400, 100, 100], "iscrowd": None},
        ],
        "categories": [{"id": 3, "name": "cat", "supercategory": "x"}, {"id": 5, "name": "dog"}],
    }
    save("coco", "instances", json.dumps(coco))
    del coco["annotations"]
    save("coco", "image_info", json.dumps(coco, indent=1))
    floats = {
        "images": [{"id": "one", "file_name": "a.jpg", "width": 640.0, "height": 480.0}],
        "annotations": [{"id": "x", "image_id": "one", "category_id": 1.0, "bbox": ["1", 2, 3, 4]}],
        "categories": [{"id": 0, "name": "group"}, {"id": 1, "name": "a"}],
    }
    save("coco", "loose", "\ufeff" + json.dumps(floats))
    box = "<bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    voc = (
        '<?xml version="1.0" encoding="utf-8"?><annotation verified="yes"><filename>C:\\x\\a.jpg</filename>'
        f"<size><width>640</width><height>480</height></size><object><name>cat &amp; dog</name>{box}</object>"
        f"<object><name><![CDATA[a]]></name><difficult>1</difficult><part>{box}</part>{box}</object><!-- x --></annotation>"
    )
    save("voc", "annotation", voc)
    save("cvat", "project", CVAT)
    save("label_studio", "export", json.dumps(LABEL_STUDIO))
    save("voc", "utf16", ("\ufeff" + voc).encode("utf-16-le"))
    save("onnx_names", "dict", "{0: 'person', 1: \"driver's seat\", 2: '\\xe9\\u6771\\U0001f600\\n'}")
    save("onnx_names", "list", "['x', 'y\\\\', ]")
    save("onnx_names", "keys", "{'1': 'b', '0': 'a, b: {c}',}")
    config = {
        "producer": "logitcache 0.1.0",
        "class_names": ["a", "b"],
        "settings": {"epochs": 3, "lr0": 0.01, "student": "yolov8n", "seed": None, "nested": {"x": [1, True]}},
        "data": {"cache": "../cache", "val_source": "percent:a%FF", "val_images_dir": None, "val_split": "val"},
    }
    rows = "epoch,time, metrics/mAP50-95(B),metrics/mAP50(B),train/box_loss\n1,10,,,3.5\n2,20.5,0.5,0.6,2e0\n3,30, nan,0.7,inf\n"
    save("run_folder", "run", json.dumps(config) + "\n\n" + rows)


if __name__ == "__main__":
    shutil.rmtree(CORPUS, ignore_errors=True)
    manifests_and_caches()
    pictures()
    models()
    weights()
    texts()

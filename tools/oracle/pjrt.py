#!/usr/bin/env python3
"""Makes the table that accel/pjrt's layouts are compared with: what a C compiler makes of
pjrt_c_api.h, as the package tensorflow (or tensorflow-cpu) publishes it.

Writes accel/pjrt/testdata/layout.txt: the version, the place of each function in PJRT_Api,
the size of each struct with offset and size of its fields, and the numbers of the enums.

Needs the package's files (nothing is imported) and gcc.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "accel", "pjrt", "testdata", "layout.txt")


def published():
    for name in ("tensorflow", "tensorflow-cpu", "tensorflow_cpu"):
        try:
            files = importlib.metadata.files(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for f in files or []:
            if f.name == "pjrt_c_api.h":
                return str(f.locate()), f"{name} {importlib.metadata.version(name)}"
    sys.exit("no package tensorflow with pjrt_c_api.h")


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


def fields(body):
    """Names of a struct's fields; those of an anonymous union stand for themselves."""
    names = []
    for statement in re.sub(r"union\s*{|}\s*;", "", body).split(";"):
        statement = statement.strip()
        if not statement:
            continue
        pointer = re.match(r".*\(\*(\w+)\)\s*\(.*\)$", statement, re.S)  # a pointer to a function
        names.append(pointer.group(1) if pointer else re.search(r"(\w+)(\[\w+\])?$", statement).group(1))
    return names


def program(header):
    text = without_comments(header)
    lines = ['printf("version %d.%d\\n", PJRT_API_MAJOR, PJRT_API_MINOR);']
    api = text[text.index("typedef struct PJRT_Api {"):]
    for name in re.findall(r"_PJRT_API_STRUCT_FIELD\((\w+)\);", api):
        lines.append(f'printf("function {name} %zu\\n", (offsetof(PJRT_Api, {name}) - offsetof(PJRT_Api, PJRT_Error_Destroy)) / sizeof(void*));')
    lines.append('printf("field PJRT_Api.first %zu %zu\\n", offsetof(PJRT_Api, PJRT_Error_Destroy), sizeof(void*));')
    for name, body in re.findall(r"(?<!typedef )\bstruct (PJRT_\w+) \{(.*?)\n\};", text, re.S):
        lines.append(f'printf("struct {name} %zu\\n", sizeof({name}));')
        for f in fields(body):
            lines.append(f'printf("field {name}.{f} %zu %zu\\n", offsetof({name}, {f}), sizeof((({name}*)0)->{f}));')
    for body in re.findall(r"typedef enum \{(.*?)\}", text, re.S):
        for name in re.findall(r"\b(PJRT_\w+)", body):
            lines.append(f'printf("enum {name} %d\\n", {name});')
    return "#include <stdio.h>\n#include \"pjrt_c_api.h\"\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"


def main():
    header, package = published()
    with open(header) as f:
        text = f.read()
    with tempfile.TemporaryDirectory() as folder:
        source, binary = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
        with open(source, "w") as f:
            f.write(program(text))
        subprocess.run(["gcc", "-I", os.path.dirname(header), "-o", binary, source], check=True)
        table = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        f.write(f"# pjrt_c_api.h of {package} by tools/oracle/pjrt.py, on a 64-bit machine: offsets and sizes in bytes\n{table}")


if __name__ == "__main__":
    main()

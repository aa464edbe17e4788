"""Write the names of services and of their endpoints to a file for dnsmasq, every second: names.py FILE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def listed(kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind in all namespaces; none while the API server does not answer."""
    found = subprocess.run(["kubectl", "get", kind, "-A", "-o", "json"], capture_output=True, check=False)
    return list(json.loads(found.stdout)["items"]) if found.returncode == 0 else []


def names() -> Iterator[tuple[str, str]]:
    """Return pairs of an address and the begin of its name, ``SERVICE.NAMESPACE`` or ``HOST.SERVICE.NAMESPACE``."""
    headless = set()
    for service in listed("services"):
        of = f"{service['metadata']['name']}.{service['metadata']['namespace']}"
        if service["spec"].get("clusterIP") in (None, "None"):
            headless.add(of)
        else:
            yield service["spec"]["clusterIP"], of
    for part in listed("endpointslices"):
        of = f"{part['metadata']['labels'].get('kubernetes.io/service-name')}.{part['metadata']['namespace']}"
        for endpoint in (part.get("endpoints") or ()) if of in headless else ():
            for address in endpoint["addresses"]:
                yield address, of
                if endpoint.get("hostname"):
                    yield address, f"{endpoint['hostname']}.{of}"


def main() -> None:
    """Write the file until the process is ended."""
    file = Path(sys.argv[1])
    written = ""
    while True:
        text = "".join(f"{ip} {of}.svc.cluster.local {of}.svc {of}\n" for ip, of in sorted(set(names())))
        if text != written:
            # Complete at once, outside of the folder that dnsmasq watches.
            new = file.parent.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            os.replace(new, file)
            written = text
        time.sleep(1)


if __name__ == "__main__":
    main()

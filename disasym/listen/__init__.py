"""A Storage SCP: studies from a PACS in, results of `disasym infer` out, and back to the PACS.

One idea a file: films on the disk before they are acknowledged (`spool.py`), what is answered to whom (`receive.py`),
when an examination is due (`waiting.py`), its analysis (`analyse.py`), what was done and sent (`book.py`), sending
(`send.py`), and the server that joins them, `listen(options, stopping)` (`run.py`).
"""

from disasym.listen.options import ListenOptions
from disasym.listen.run import listen

__all__ = ["ListenOptions", "listen"]

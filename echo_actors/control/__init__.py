"""A socket in a directory, on which the calls of an object are made from other programs of the same user.

The object is whatever has calls as ``Engine`` has them; nothing in here knows it.

Version 1 of the protocol. Each line is one JSON object in UTF-8. The server begins::

    {"protocol": 1, "version": "0.1.0", "run_id": "...", "pid": 4711}

Then, as often as the client likes, and one after the other::

    -> {"id": 1, "call": "ask", "arguments": {"channel": "c", "text": "Hello!"}}
    <- {"id": 1, "result": {"text": "..."}}

A call that gives an async context manager is answered by ``opened`` with what is known by then, an ``event`` for each
that comes, and ``result`` with what is known in the end. Whatever goes wrong is the answer ``error``, with the
``type`` of the exception, its ``text``, and its ``fields``; without an ``id``, and before the connection ends, when a
line could not be understood.

A client that closes the connection, or its own side of it, cancels the call that runs, and what it sent ahead is not
done. The same goes for one that sends more ahead than a line may be long.
"""

"""add_reader, add_writer and their removal: what asyncio promises about bare descriptors."""

import asyncio
import gc
import os
import socket
import tempfile
import weakref

import pytest

from tests.support import HOST, Recorder, closed, error_of, plain, turn


def outcome_of(function, *args):
    """What the call returned, or the exception's type and text."""
    try:
        return function(*args)
    except Exception as exc:
        return type(exc).__name__, str(exc)


def test_a_reader_runs_when_there_is_data(loop, pair):
    left, right = pair
    seen = []

    def reader(*args):
        seen.append((args, left.recv(100)))
        loop.stop()

    loop.add_reader(left, reader, 1, 2)
    loop.call_soon(right.send, b"data")
    loop.run_forever()
    assert seen == [((1, 2), b"data")]
    assert loop.remove_reader(left) is True
    assert loop.remove_reader(left) is False


def test_a_writer_runs_when_there_is_room(loop, pair):
    left, right = pair
    seen = []
    loop.add_writer(left, lambda *args: (seen.append(args), loop.stop()), "argument")
    loop.run_forever()
    assert seen == [("argument",)]
    assert loop.remove_writer(left) is True
    assert loop.remove_writer(left) is False


def test_readers_are_level_triggered(loop, pair):
    left, right = pair
    seen = []

    def reader():
        seen.append(left.recv(1))
        if len(seen) == 4:
            loop.stop()

    loop.add_reader(left, reader)
    right.send(b"abcd")
    loop.run_forever()
    assert seen == [b"a", b"b", b"c", b"d"]
    loop.remove_reader(left)


def test_a_reader_sees_the_end_of_the_stream(loop, pair):
    left, right = pair
    loop.add_reader(left, lambda: (results.append(left.recv(1)), loop.stop()))
    results = []
    right.close()
    loop.run_forever()
    assert results == [b""]
    loop.remove_reader(left)


def test_a_writer_waits_while_the_buffer_is_full(loop, pair):
    left, right = pair
    try:
        while True:
            left.send(b"x" * 65536)
    except BlockingIOError:
        pass
    seen = []
    loop.add_writer(left, lambda: (seen.append("writable"), loop.remove_writer(left)))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == []
    right.setblocking(False)
    try:
        while True:
            right.recv(1 << 20)
    except BlockingIOError:
        pass
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == ["writable"]


def test_adding_again_replaces_the_callback(loop, pair):
    left, right = pair
    seen = []
    assert loop.add_reader(left, seen.append, "old") is None
    loop.add_reader(left, lambda: (seen.append("new"), left.recv(10), loop.stop()))
    right.send(b"x")
    loop.run_forever()
    assert seen == ["new"]
    loop.remove_reader(left)


def test_replacing_or_removing_releases_the_callback(loop, pair):
    left, right = pair

    class Argument:
        pass

    first, second = Argument(), Argument()
    released = [weakref.ref(first), weakref.ref(second)]
    loop.add_reader(left, print, first)
    loop.add_writer(left, print, second)
    del first, second
    loop.add_reader(left, print)
    loop.remove_writer(left)
    gc.collect()
    assert [ref() for ref in released] == [None, None]
    loop.remove_reader(left)


def test_reader_and_writer_of_one_descriptor_are_independent(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: (seen.append("reader"), left.recv(10), loop.stop()))
    loop.add_writer(left, lambda: (seen.append("writer"), loop.remove_writer(left)))
    loop.call_later(0.005, right.send, b"x")
    loop.run_forever()
    assert seen == ["writer", "reader"]
    assert loop.remove_writer(left) is False
    assert loop.remove_reader(left) is True


def test_a_reader_that_removes_itself(loop, pair):
    left, right = pair
    seen = []
    loop.add_reader(left, lambda: seen.append(loop.remove_reader(left)))
    right.send(b"x")
    loop.run_until_complete(asyncio.sleep(0.005))
    assert seen == [True]


def test_a_reader_removed_by_another_of_the_same_poll(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    def reader(index):
        seen.append(index)
        for left, _right in pairs:
            loop.remove_reader(left)

    for index, (left, right) in enumerate(pairs):
        loop.add_reader(left, reader, index)
        right.send(b"x")
    turn(loop, 3)
    assert len(seen) == 1
    for left, right in pairs:
        left.close()
        right.close()


def test_descriptors_may_be_integers_or_objects(loop, pair):
    left, right = pair
    loop.add_reader(left.fileno(), print)
    assert loop.remove_reader(left) is True
    loop.add_writer(left, print)
    assert loop.remove_writer(left.fileno()) is True


def test_bad_descriptors(same_as_asyncio, pair):
    left, right = pair
    left.close()

    def body(loop):
        found = []
        for bad in (-1, "text", None, 1.5, object(), left):
            for name in ("add_reader", "add_writer"):
                found.append(error_of(getattr(loop, name), bad, print)[0])
            for name in ("remove_reader", "remove_writer"):
                found.append(error_of(getattr(loop, name), bad)[0])
        return found

    assert set(same_as_asyncio(body)) == {"ValueError"}


def test_the_messages_for_bad_descriptors(same_as_asyncio):
    def body(loop):
        return [
            plain(error_of(loop.add_reader, "text", print)[1]),
            plain(error_of(loop.add_reader, object(), print)[1]),
        ]

    assert same_as_asyncio(body)[0] == "Invalid file object: 'text'"


def test_numbers_that_no_descriptor_can_have(same_as_asyncio):
    def body(loop):
        found = []
        for number in (-1, -(2**70), 2**31, 2**70):
            for name in ("add_reader", "_add_reader", "add_writer", "_add_writer"):
                found.append(error_of(getattr(loop, name), number, print))
            for name in ("remove_reader", "_remove_reader", "remove_writer", "_remove_writer"):
                found.append(outcome_of(getattr(loop, name), number))
            found.append(outcome_of(loop._ensure_fd_no_transport, number))
        return found

    found = same_as_asyncio(body)
    assert found[0] == ("ValueError", "Invalid file descriptor: -1")
    assert found[4] == ("ValueError", "Invalid file descriptor: -1")


def test_a_closed_object_is_found_as_what_was_added(same_as_asyncio):
    """A program may close a socket and remove its reader afterwards."""

    def body(loop):
        found = []
        for event in ("reader", "writer"):
            add, remove = getattr(loop, f"add_{event}"), getattr(loop, f"remove_{event}")
            for as_number in (False, True):
                left, right = socket.socketpair()
                added = left.fileno() if as_number else left
                add(added, print)
                left.close()
                found += [outcome_of(remove, left), outcome_of(remove, left)]
                if as_number:
                    found.append(remove(added))
                right.close()
        return found

    closed_error = ("ValueError", "Invalid file descriptor: -1")
    assert same_as_asyncio(body) == [True, closed_error, closed_error, closed_error, True] * 2


def test_a_closed_file_is_not_found_by_the_public_methods(same_as_asyncio):
    def body(loop):
        reading, writing = os.pipe()
        os.close(writing)
        file = open(reading, "rb", buffering=0)
        loop.add_reader(file, print)
        file.close()
        return [
            plain(outcome_of(loop.remove_reader, file)[1]),
            loop._remove_reader(file),
            plain(outcome_of(loop._remove_reader, file)[1]),
        ]

    assert same_as_asyncio(body)[1] is True


def test_an_added_object_lives_until_it_is_removed(loop):
    left, right = socket.socketpair()
    seen = []
    loop.add_reader(left, lambda: (seen.append(True), loop.stop()))
    left, number = weakref.ref(left), left.fileno()
    gc.collect()
    right.send(b"x")
    loop.run_forever()
    assert seen == [True]
    left().close()
    assert loop.remove_reader(number) is True
    assert left() is None
    right.close()


def test_removing_what_was_never_there(same_as_asyncio, pair):
    left, right = pair

    def body(loop):
        return [
            loop.remove_reader(left),
            loop.remove_writer(left),
            loop.remove_reader(99_999),
            loop.remove_writer(99_999),
        ]

    assert same_as_asyncio(body) == [False] * 4


def test_a_descriptor_that_is_not_open(same_as_asyncio):
    def body(loop):
        return error_of(loop.add_reader, 99_999, print)[0]

    assert same_as_asyncio(body) == "OSError"


def test_regular_files_are_refused(same_as_asyncio):
    with tempfile.TemporaryFile() as file:

        def body(loop):
            found = [error_of(loop.add_reader, file, print), error_of(loop.add_writer, file, print)]
            return found, loop.remove_reader(file)

        found, removed = same_as_asyncio(body)
    assert [kind for kind, text in found] == ["PermissionError", "PermissionError"]
    assert removed is False


def test_the_closed_loop(same_as_asyncio, pair):
    left, right = pair

    def body(loop):
        loop.close()
        return [
            error_of(loop.add_reader, left, print),
            error_of(loop.add_writer, left, print),
            error_of(loop.add_reader, -1, print),
            error_of(loop._add_reader, "text", print),
            loop.remove_reader(left),
            loop.remove_writer(left),
            loop.remove_reader(-1),
            loop._remove_reader("text"),
            error_of(loop.remove_reader, "text"),
        ]

    closed_error = ("RuntimeError", "Event loop is closed")
    invalid = ("ValueError", "Invalid file object: 'text'")
    assert same_as_asyncio(body) == [closed_error] * 4 + [False] * 4 + [invalid]


@pytest.mark.parametrize("blocking", [True, False])
def test_the_blocking_flag_is_left_alone(loop, pair, blocking):
    left, right = pair
    left.setblocking(blocking)
    loop.add_reader(left, left.recv, 10)
    loop.add_writer(left, loop.remove_writer, left)
    right.send(b"x")
    loop.run_until_complete(asyncio.sleep(0.002))
    assert os.get_blocking(left.fileno()) is blocking
    loop.remove_reader(left)
    assert os.get_blocking(left.fileno()) is blocking


def test_a_descriptor_of_a_transport_is_refused(same_as_asyncio):
    async def body(loop):
        server = await loop.create_server(asyncio.Protocol, HOST, 0)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address)
        fd = transport.get_extra_info("socket").fileno()
        found = [
            error_of(loop.add_reader, fd, print),
            error_of(loop.add_writer, fd, print),
            error_of(loop.remove_reader, fd),
            error_of(loop.remove_writer, fd),
        ]
        await closed(protocol)
        server.close()
        start = f"File descriptor {fd} is used by transport "
        return [(kind, text.startswith(start)) for kind, text in found]

    assert same_as_asyncio(body) == [("RuntimeError", True)] * 4


def test_a_descriptor_number_is_usable_again_after_the_transport(loop):
    async def body():
        server = await loop.create_server(asyncio.Protocol, HOST, 0)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address)
        fd = transport.get_extra_info("socket").fileno()
        await closed(protocol)
        left, right = socket.socketpair()
        if left.fileno() != fd:
            os.dup2(left.fileno(), fd)
            left.close()
            left = socket.socket(fileno=fd)
        loop.add_reader(left, lambda: (loop.remove_reader(left), seen.set_result(None)))
        right.send(b"x")
        await asyncio.wait_for(seen, 5)
        left.close()
        right.close()
        server.close()

    seen = loop.create_future()
    loop.run_until_complete(body())


def test_an_error_in_a_reader_is_reported_and_the_reader_stays(loop, pair):
    left, right = pair
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    def reader():
        if len(found) == 2:
            left.recv(10)
            loop.stop()
            return
        raise LookupError("in the reader")

    loop.add_reader(left, reader)
    right.send(b"x")
    loop.run_forever()
    assert [str(context["exception"]) for context in found] == ["in the reader"] * 2
    assert found[0]["message"].startswith("Exception in callback")
    assert isinstance(found[0]["handle"], asyncio.Handle)
    loop.remove_reader(left)


def test_a_reader_runs_in_the_context_it_was_added_in(loop, pair):
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")
    left, right = pair
    seen = []

    def add():
        variable.set("at adding")
        loop.add_reader(left, lambda: (seen.append(variable.get()), left.recv(9), loop.stop()))

    contextvars.copy_context().run(add)
    right.send(b"x")
    loop.run_forever()
    assert seen == ["at adding"]
    loop.remove_reader(left)


def test_readers_work_on_pipes_and_event_descriptors(loop):
    read_end, write_end = os.pipe()
    event = os.eventfd(0)
    seen = []
    loop.add_reader(read_end, lambda: seen.append(os.read(read_end, 10)))
    loop.add_reader(event, lambda: seen.append(os.eventfd_read(event)))
    loop.add_writer(write_end, lambda: (os.write(write_end, b"x"), loop.remove_writer(write_end)))
    os.eventfd_write(event, 7)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert sorted(map(str, seen)) == ["7", "b'x'"]
    loop.remove_reader(read_end)
    loop.remove_reader(event)
    for fd in (read_end, write_end, event):
        os.close(fd)


def test_a_writer_of_a_pipe_without_reader_runs(loop):
    """The error condition must wake the writer: its write then finds out."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    seen = []

    def writer():
        try:
            os.write(write_end, b"x")
        except BrokenPipeError:
            seen.append("broken")
        loop.remove_writer(write_end)

    loop.add_writer(write_end, writer)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == ["broken"]
    os.close(write_end)


def test_watchers_left_over_are_dropped_by_close(new_loop, pair):
    left, right = pair

    class Argument:
        pass

    argument = Argument()
    released = weakref.ref(argument)
    loop = new_loop()
    loop.add_reader(left, print, argument)
    loop.add_writer(right, print, argument)
    del argument
    loop.run_until_complete(asyncio.sleep(0))
    loop.remove_writer(right)
    loop.close()
    del loop
    gc.collect()
    assert released() is None
    assert left.fileno() > 0 and os.fstat(left.fileno())


def test_a_reader_does_not_starve_timers_and_callbacks(loop, pair):
    left, right = pair
    right.send(b"x")
    counts = {"reader": 0, "chain": 0}

    def reader():
        counts["reader"] += 1

    def chain():
        counts["chain"] += 1
        loop.call_soon(chain)

    loop.add_reader(left, reader)
    loop.call_soon(chain)
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert counts["reader"] > 10 and counts["chain"] > 10
    loop.remove_reader(left)


def test_a_thousand_watchers(loop):
    pairs = [socket.socketpair() for _ in range(500)]
    seen = set()

    def reader(index):
        pairs[index][0].recv(1)
        seen.add(index)
        if len(seen) == len(pairs):
            loop.stop()

    for index, (left, right) in enumerate(pairs):
        loop.add_reader(left, reader, index)
        loop.call_soon(right.send, b"x")
    loop.run_forever()
    assert len(seen) == 500
    for left, right in pairs:
        loop.remove_reader(left)
        left.close()
        right.close()


def test_a_closed_descriptor_reused_for_another_socket(loop):
    """A program that closes a watched socket and gets its number again must not be confused."""
    left, right = socket.socketpair()
    loop.add_reader(left, pytest.fail)
    turn(loop)
    number = left.fileno()
    loop.remove_reader(left)
    left.close()
    right.close()
    new_left, new_right = socket.socketpair()
    assert number in (new_left.fileno(), new_right.fileno())
    seen = []
    loop.add_reader(new_left, lambda: (seen.append(new_left.recv(1)), loop.stop()))
    new_right.send(b"y")
    loop.run_forever()
    assert seen == [b"y"]
    loop.remove_reader(new_left)
    new_left.close()
    new_right.close()

/* base/names.h: every attribute, method and keyword name that C looks up, interned once.
 *
 * PA_NAMES lists them; a name is reached as st->names.call_soon. Names with a leading underscore
 * keep it: st->names._run_once is "_run_once". */
#ifndef PA_BASE_NAMES_H
#define PA_BASE_NAMES_H

#define PA_NAMES(X)                                                                                \
    /* sched */                                                                                    \
    X(__self__)                                                                                    \
    X(__name__)                                                                                    \
    X(_asyncio_future_blocking)                                                                    \
    X(_loop)                                                                                       \
    X(add_done_callback)                                                                           \
    X(call_exception_handler)                                                                      \
    X(call_soon)                                                                                   \
    X(cancel)                                                                                      \
    X(context)                                                                                     \
    X(done)                                                                                        \
    X(eager_start)                                                                                 \
    X(exception)                                                                                   \
    X(future)                                                                                      \
    X(get_debug)                                                                                   \
    X(get_loop)                                                                                    \
    X(handle)                                                                                      \
    X(is_running)                                                                                  \
    X(loop)                                                                                        \
    X(message)                                                                                     \
    X(name)                                                                                        \
    X(result)                                                                                      \
    X(send)                                                                                        \
    X(set_name)                                                                                    \
    X(source_traceback)                                                                            \
    X(task)                                                                                        \
    X(throw)                                                                                       \
    /* loop */                                                                                     \
    X(_asyncgen_finalizer_hook)                                                                    \
    X(_asyncgen_firstiter_hook)                                                                    \
    X(_handle_signal)                                                                              \
    X(_set_coroutine_origin_tracking)                                                              \
    X(accept)                                                                                      \
    X(_transports)                                                                                 \
    X(call_at)                                                                                     \
    X(connect)                                                                                     \
    X(create_future)                                                                               \
    X(data)                                                                                        \
    X(_current_handle)                                                                             \
    X(_source_traceback)                                                                           \
    X(finalizer)                                                                                   \
    X(fileno)                                                                                      \
    X(firstiter)                                                                                   \
    X(gettimeout)                                                                                  \
    X(recv)                                                                                        \
    X(recv_into)                                                                                   \
    X(recvfrom_into)                                                                               \
    X(monotonic)                                                                                   \
    X(slow_callback_duration)                                                                      \
    X(time)                                                                                        \
    /* loop/executor.c */                                                                          \
    X(FINISHED)                                                                                    \
    X(_check_default_executor)                                                                     \
    X(_copy_future_state)                                                                          \
    X(_default_executor)                                                                           \
    X(_exception)                                                                                  \
    X(_get_running_loop)                                                                           \
    X(_result)                                                                                     \
    X(_state)                                                                                      \
    X(call_soon_threadsafe)                                                                        \
    X(run_in_executor)                                                                             \
    X(submit)                                                                                      \
    X(wrap_future)                                                                                 \
    /* net */                                                                                      \
    X(join)                                                                                        \
    X(setblocking)                                                                                 \
    X(_attach)                                                                                     \
    X(_buffer)                                                                                     \
    X(_call_connection_lost)                                                                       \
    X(_clients)                                                                                    \
    X(_detach)                                                                                     \
    X(_eof)                                                                                        \
    X(_limit)                                                                                      \
    X(_paused)                                                                                     \
    X(_pending_removals)                                                                           \
    X(_read_ready)                                                                                 \
    X(_remove)                                                                                     \
    X(_schedule_reading)                                                                           \
    X(_sockets)                                                                                    \
    X(_start_reading)                                                                              \
    X(_stream_reader_wr)                                                                           \
    X(_transport)                                                                                  \
    X(_waiter)                                                                                     \
    X(_write_ready)                                                                                \
    X(buffer_updated)                                                                              \
    X(call_later)                                                                                  \
    X(cancelled)                                                                                   \
    X(close)                                                                                       \
    X(connection_lost)                                                                             \
    X(connection_made)                                                                             \
    X(data_received)                                                                               \
    X(datagram_received)                                                                           \
    X(debug)                                                                                       \
    X(detach)                                                                                      \
    X(eof_received)                                                                                \
    X(error_received)                                                                              \
    X(family)                                                                                      \
    X(feed_data)                                                                                   \
    X(get_buffer)                                                                                  \
    X(getpeername)                                                                                 \
    X(getsockname)                                                                                 \
    X(max_size)                                                                                    \
    X(pause_reading)                                                                               \
    X(pause_writing)                                                                               \
    X(peername)                                                                                    \
    X(proto)                                                                                       \
    X(recvfrom)                                                                                    \
    X(protocol)                                                                                    \
    X(resume_writing)                                                                              \
    X(sendto)                                                                                      \
    X(set_exception)                                                                               \
    X(set_result)                                                                                  \
    X(socket)                                                                                      \
    X(sockname)                                                                                    \
    X(transport)                                                                                   \
    X(type)                                                                                        \
    X(warning)                                                                                     \
    /* tls */                                                                                      \
    X(_do_read)                                                                                    \
    X(_force_close)                                                                                \
    X(_handshake_timed_out)                                                                        \
    X(_resumed)                                                                                    \
    X(_shutdown_timed_out)                                                                         \
    X(_sslobj)                                                                                     \
    X(cipher)                                                                                      \
    X(compression)                                                                                 \
    X(do_handshake)                                                                                \
    X(get_extra_info)                                                                              \
    X(getpeercert)                                                                                 \
    X(is_closing)                                                                                  \
    X(peercert)                                                                                    \
    X(pending)                                                                                     \
    X(read)                                                                                        \
    X(resume_reading)                                                                              \
    X(ssl_object)                                                                                  \
    X(unwrap)                                                                                      \
    X(write)

#endif

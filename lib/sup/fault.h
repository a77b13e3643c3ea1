/*
 * supervisord's fault numbers: the error codes of the control protocol.
 */
#ifndef SUP_FAULT_H
#define SUP_FAULT_H

#define FAULTS(X)                                                                                  \
	X(UNKNOWN_METHOD, 1)                                                                       \
	X(INCORRECT_PARAMETERS, 2)                                                                 \
	X(BAD_ARGUMENTS, 3)                                                                        \
	X(SHUTDOWN_STATE, 6)                                                                       \
	X(BAD_NAME, 10)                                                                            \
	X(BAD_SIGNAL, 11)                                                                          \
	X(NO_FILE, 20)                                                                             \
	X(NOT_EXECUTABLE, 21)                                                                      \
	X(FAILED, 30)                                                                              \
	X(ABNORMAL_TERMINATION, 40)                                                                \
	X(SPAWN_ERROR, 50)                                                                         \
	X(ALREADY_STARTED, 60)                                                                     \
	X(NOT_RUNNING, 70)                                                                         \
	X(SUCCESS, 80)                                                                             \
	X(NOT_PERMITTED, 93)

enum fault {
#define X(name, code) FAULT_##name = (code),
	FAULTS(X)
#undef X
};

/* "BAD_NAME" */
const char *fault_name(enum fault fault);

#endif

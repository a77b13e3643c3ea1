/*
 * How a verb reaches its supervisor: configuration -> name -> socket -> connection; and calls whose rows arrive in parts.
 */
#ifndef CMD_MPSUP_CONNECT_H
#define CMD_MPSUP_CONNECT_H

#include <jansson.h>
#include <stdbool.h>

struct client;
struct cmd_context;
struct err;

/* -s, or the socket of the instance that the configuration names. 0 with a heap string, or -errno. */
int connect_socket_path(const struct cmd_context *ctx, char **ret_path, struct err *err);

/*
 * 0 or -errno. -ENOENT and -ECONNREFUSED say that nobody listens; that there is no configuration is -EINVAL.
 */
int connect_open(const struct cmd_context *ctx, struct client **ret_client, struct err *err);

/* After -ECONNRESET: in the place of *client, a connection to whoever has taken over. False: nobody is there. */
bool connect_again(struct client **client, const struct cmd_context *ctx);

/*
 * Connects to the socket at path and calls the method, with client_call()'s params and result. Where the connection ends
 * before the answer it does so again: the supervisor was being replaced, and the keeper holds the socket for the next.
 * No byte for timeout_ms (0 = for ever) is -ETIMEDOUT.
 */
int connect_ask(const char *path, int timeout_ms, const char *method, json_t *params,
		struct client **ret_client, json_t **ret_result, struct err *err);

/* The exit code of a verb other than status that could not connect or call: 7 nobody there, 4 not allowed, else 1. */
int connect_exit_code(int r);

/* What a result that is sent in parts is made of; each may be NULL. What they get is only lent. */
struct connect_on {
	void (*row)(json_t *row, void *user);
	void (*error)(json_t *error, void *user);   /* a target that status did not find */
	void (*event)(json_t *message, void *user); /* whole */
	void *user;
};

/* client_call() for the methods that answer {"processes":[...]}. A reference to params is stolen. */
int connect_rows(struct client *client, const char *method, json_t *params,
		 const struct connect_on *on, struct err *err);

/* For who has asked about all and was told of nothing: where there are no programs that is said, with the file. */
void connect_tell_empty(const struct cmd_context *ctx);

/* A name as it goes to the supervisor: always a string, where it is no UTF-8 one that nothing is called. */
json_t *connect_name(const char *name);

/* What is left of the arguments, as an array. */
json_t *connect_names(const struct cmd_context *ctx);

/* One JSON document and a newline on standard output; steals the reference. */
void connect_print_json(json_t *value);

#endif

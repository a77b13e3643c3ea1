/*
 * The control protocol from the side of a program that asks: connect, one request, its events and answers. Blocking, no
 * event loop. The server's side is connection_uv.c; what travels is described in mpsup-ipc(7).
 */
#ifndef SUP_CLIENT_H
#define SUP_CLIENT_H

#include <stdbool.h>

struct err;
struct json_t;
struct client;

/*
 * The runtime directory of the instance NAME: /run/mpsup/NAME as root, $XDG_RUNTIME_DIR/mpsup/NAME, else
 * /tmp/mpsup-UID/NAME. Heap strings.
 */
char *client_runtime_base(void);
char *client_runtime_dir(const char *name);

/* /tmp/mpsup-UID: where mpsup exec goes when client_runtime_base(), which may be the same, cannot be written to. */
char *client_runtime_spare(void);

/*
 * NAME: the identifier of the file if it sets one, else made from its absolute path ("/etc/supervisord.conf" ->
 * "etc-supervisord.conf"; characters outside [A-Za-z0-9._-] become "-"). A hash is added where two paths could meet, and
 * to long ones, which are cut, since a socket's path has 107 bytes.
 */
char *client_instance_name(const char *config_path, const char *identifier);

/*
 * 0; -ENOENT or -ECONNREFUSED: nobody listens there (err: "no supervisor at PATH; mpsup start starts one");
 * -EACCES, -EPERM; other -errno.
 */
int client_connect(const char *socket_path, struct client **ret_client, struct err *err);

/* A client on a connected stream socket, which it takes over. NULL when out of memory: then fd is still the caller's. */
struct client *client_new(int fd);

/* Closes. NULL is fine. */
void client_close(struct client *client);

/* Calls fail with -ETIMEDOUT after ms without a byte; 0 = wait for ever, which a new client does. 0 or -errno. */
int client_set_timeout(struct client *client, int ms);

/* The socket, to be polled between calls: it is readable when the server has gone. */
int client_fd(const struct client *client);

/* Called for each line that arrives before the last answer: rows of a result that is sent in parts, and events. */
typedef void client_on_part(struct json_t *message, void *user);

/*
 * Sends method with params (a reference is stolen; NULL = {}) and reads until the answer is complete. Parts
 * ({"more":true,...}) and events go to on_part (may be NULL). 0 with *ret_result (the caller's; the last part's "result");
 * a positive fault number (10 BAD_NAME ...) with err when the server refused; -errno when the connection failed:
 * -ECONNRESET when the supervisor went away first, -EPROTO and -EMSGSIZE when what it sent is no answer, -EINVAL when
 * params are no UTF-8. After an -errno the client is of no further use.
 */
int client_call(struct client *client, const char *method, struct json_t *params,
		client_on_part *on_part, void *user, struct json_t **ret_result, struct err *err);

/*
 * The next line, for who has subscribed to events; *ret_message is the caller's. 0, or what client_call() returns; after
 * -ETIMEDOUT it can be called again.
 */
int client_next(struct client *client, struct json_t **ret_message, struct err *err);

/* A whole line is here already: client_next() will not wait, and poll(2) tells nothing of it. */
bool client_has_line(const struct client *client);

/* Blocks until the server closes the connection (after shutdown). 0 or -errno. */
int client_wait_closed(struct client *client);

#endif

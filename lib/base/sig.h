/*
 * Signal names and numbers.
 */
#ifndef BASE_SIG_H
#define BASE_SIG_H

/*
 * The number of a signal given as "TERM", "SIGTERM" (any case, blanks around ignored), "15", "RTMIN+1" or "RTMAX-2".
 * 0 is accepted as a number (kill(2)'s probe). -EINVAL if there is no such signal.
 */
int sig_parse(const char *text);

/* "TERM", "RTMIN+1", or NULL where the number names no signal. Static storage. */
const char *sig_name(int sig);

#endif

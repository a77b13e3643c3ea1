/*
 * The process title that ps(1) shows.
 */
#ifndef BASE_TITLE_H
#define BASE_TITLE_H

/* Call first in main, before environ is changed: finds the room behind argv and environ, and moves both
 * away (the strings; they are never freed). */
void title_init(int argc, char **argv);

/* "mpsup: keeper web". Also sets the short name (15 bytes) of /proc/PID/comm. Needs title_init(). */
void title_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same for a text that is ready. */
void title_put(const char *text);

#endif

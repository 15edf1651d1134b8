/* SoftHSM writes to its token at each login, and images are read-only: when this library is loaded, the token of the image
 * is copied into memory, unless it is there. The functions of PKCS#11 are those of SoftHSM, which this is linked with. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void copy_file(const char *from, const char *to) {
    char bytes[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    for (ssize_t count; in >= 0 && out >= 0 && (count = read(in, bytes, sizeof bytes)) > 0;)
        if (write(out, bytes, count) != count)
            break;
    close(in);
    close(out);
}

static void copy(const char *from, const char *to) {
    DIR *directory = opendir(from);
    if (directory == NULL || mkdir(to, 0700) != 0)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char source[4096], target[4096];
        struct stat about;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        if (stat(source, &about) != 0)
            continue;
        if (S_ISDIR(about.st_mode))
            copy(source, target);
        else
            copy_file(source, target);
    }
    closedir(directory);
}

__attribute__((constructor)) static void provide(void) {
    copy(SOURCE, TARGET);
}

"""An SFTP server on loopback that serves one folder: the place of a store that another team runs."""

import os
import socket
import threading

import paramiko

USER = ("ana", "secret")


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def close(self):
        self.readfile.close()


class Files(paramiko.SFTPServerInterface):
    root = ""  # folder that is served; set by `serve_folder`

    def real(self, path):
        return self.root + os.path.normpath("/" + path)

    def attempt(self, action, *given):
        try:
            return action(*given)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def done(self, action, *given):
        found = self.attempt(action, *given)
        return found if isinstance(found, int) else paramiko.SFTP_OK

    def attributes(self, path, name=None):
        return paramiko.SFTPAttributes.from_stat(os.lstat(path), name)

    def opened(self, path, flags):
        mode = "r+b" if flags & (os.O_WRONLY | os.O_RDWR) else "rb"
        file = os.fdopen(os.open(self.real(path), flags, 0o600), mode, buffering=0)
        handle = Handle(flags)
        handle.readfile = handle.writefile = file
        return handle

    def listed(self, path):
        folder = self.real(path)
        return [self.attributes(os.path.join(folder, name), name) for name in os.listdir(folder)]

    def list_folder(self, path):
        return self.attempt(self.listed, path)

    def stat(self, path):
        return self.attempt(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self.real(path))))

    def lstat(self, path):
        return self.attempt(self.attributes, self.real(path))

    def open(self, path, flags, attr):
        both = (flags & ~os.O_WRONLY) | os.O_RDWR
        return self.attempt(self.opened, path, both if flags & os.O_WRONLY else flags)

    def remove(self, path):
        return self.done(os.remove, self.real(path))

    def rename(self, old, new):
        return self.done(os.rename, self.real(old), self.real(new))

    def posix_rename(self, old, new):
        return self.done(os.replace, self.real(old), self.real(new))

    def mkdir(self, path, attr):
        return self.done(os.mkdir, self.real(path))

    def chattr(self, path, attr):
        return paramiko.SFTP_OK


class Door(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL if (username, password) == USER else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


def accept_all(listening, key, files, transports):
    "Serve whoever comes until the door is shut."
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
        transport.start_server(server=Door())
        transports.append(transport)


def serve_folder(root):
    "Serve a folder; yields the port once, and shuts everything when resumed."
    files = type("FilesOfRoot", (Files,), {"root": str(root)})
    key, listening, transports = paramiko.RSAKey.generate(2048), socket.create_server(("127.0.0.1", 0)), []
    server = threading.Thread(target=accept_all, args=(listening, key, files, transports), daemon=True)
    server.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    server.join(5)
    for transport in transports:
        transport.close()

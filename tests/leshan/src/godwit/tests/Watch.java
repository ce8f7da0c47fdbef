package godwit.tests;

import java.util.Locale;
import org.eclipse.californium.core.coap.EmptyMessage;
import org.eclipse.californium.core.coap.Request;
import org.eclipse.californium.core.coap.Response;
import org.eclipse.californium.core.network.interceptors.MessageInterceptor;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.request.DeregisterRequest;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;

/** Reports what a client's registration does, and each message that it gets and sends. */
final class Watch extends LwM2mClientObserverAdapter implements MessageInterceptor {
    private final Client client;

    Watch(Client client) {
        this.client = client;
    }

    @Override
    public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String id) {
        client.event("registered", "id", id);
    }

    @Override
    public void onRegistrationFailure(
            LwM2mServer server, RegisterRequest request, ResponseCode code, String message, Exception cause) {
        failed("register", code, message, cause);
    }

    @Override
    public void onRegistrationTimeout(LwM2mServer server, RegisterRequest request) {
        failed("register", null, "timeout", null);
    }

    @Override
    public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
        client.event("updated");
    }

    @Override
    public void onUpdateFailure(
            LwM2mServer server, UpdateRequest request, ResponseCode code, String message, Exception cause) {
        failed("update", code, message, cause);
    }

    @Override
    public void onUpdateTimeout(LwM2mServer server, UpdateRequest request) {
        failed("update", null, "timeout", null);
    }

    @Override
    public void onDeregistrationSuccess(LwM2mServer server, DeregisterRequest request) {
        client.event("deregistered");
    }

    @Override
    public void onDeregistrationFailure(
            LwM2mServer server, DeregisterRequest request, ResponseCode code, String message, Exception cause) {
        failed("deregister", code, message, cause);
    }

    @Override
    public void onDeregistrationTimeout(LwM2mServer server, DeregisterRequest request) {
        failed("deregister", null, "timeout", null);
    }

    @Override
    public void onUnexpectedError(Throwable error) {
        client.event("failed", "what", "client", "message", String.valueOf(error));
    }

    private void failed(String what, ResponseCode code, String message, Exception cause) {
        client.event(
                "failed",
                "what",
                what,
                "code",
                code == null ? "" : String.valueOf(code),
                "message",
                message == null ? String.valueOf(cause) : message);
    }

    @Override
    public void receiveRequest(Request request) {
        client.event(
                "request",
                "method",
                String.valueOf(request.getCode()),
                "path",
                "/" + request.getOptions().getUriPathString(),
                "query",
                request.getOptions().getUriQueryString(),
                "observe",
                request.getOptions().getObserve(),
                "accept",
                number(request.getOptions().getAccept()),
                "format",
                number(request.getOptions().getContentFormat()),
                "block1",
                request.getOptions().hasBlock1() ? request.getOptions().getBlock1().getNum() : null,
                "block2",
                request.getOptions().hasBlock2() ? request.getOptions().getBlock2().getNum() : null,
                "token",
                request.getTokenString(),
                "payload",
                hex(request.getPayload()));
    }

    @Override
    public void sendResponse(Response response) {
        client.event(
                "response",
                "type",
                String.valueOf(response.getType()),
                "code",
                response.getCode().toString(),
                "observe",
                response.getOptions().getObserve(),
                "format",
                number(response.getOptions().getContentFormat()),
                "token",
                response.getTokenString(),
                "payload",
                hex(response.getPayload()));
    }

    @Override
    public void sendRequest(Request request) {
        client.event(
                "uplink",
                "method",
                String.valueOf(request.getCode()),
                "path",
                "/" + request.getOptions().getUriPathString(),
                "query",
                request.getOptions().getUriQueryString(),
                "format",
                number(request.getOptions().getContentFormat()),
                "block1",
                request.getOptions().hasBlock1() ? request.getOptions().getBlock1().getNum() : null,
                "payload",
                hex(request.getPayload()));
    }

    @Override
    public void receiveEmptyMessage(EmptyMessage message) {
        client.event("empty", "type", String.valueOf(message.getType()));
    }

    private static Integer number(int option) {
        return option < 0 ? null : Integer.valueOf(option);
    }

    private static String hex(byte[] payload) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; payload != null && i < payload.length && i < 2048; i++) {
            text.append(String.format(Locale.ROOT, "%02x", payload[i]));
        }
        return text.toString();
    }
}
